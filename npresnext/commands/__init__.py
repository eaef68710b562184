"""The commands of ``npresnext``, one per file.

Each has ``HELP``, ``configure(parser)``, and ``run(args)``, which returns the exit code. Modules that take long to
import are imported inside ``run``, so that ``npresnext --help`` answers at once.
"""
