"""The commands of ``npresnext``, one per file.

Each has ``HELP``, ``configure(parser)``, and ``run(args)``, which returns the exit code: 0, or one of those below.
Modules that take long to import are imported inside the functions, so that ``npresnext --help`` answers at once.
"""

FAILED = 1  # the command itself failed
MISTAKE = 2  # the command line is wrong: an option, a value, or the name of a file
INTERRUPTED = 130  # stopped by Ctrl-C
READER_GONE = 141  # the program that reads the output (as ``head`` does) has closed it
