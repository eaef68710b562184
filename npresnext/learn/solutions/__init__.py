"""The files of the exercises with their solutions; ``learn/sheets.py`` makes the starter files from them."""
