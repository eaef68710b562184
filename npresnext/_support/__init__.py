"""What all parts of the package share and nobody outside imports."""
