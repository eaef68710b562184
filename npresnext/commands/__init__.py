"""The commands of ``npresnext``, one a file: HELP, configure(parser) and run(args), which returns the exit code.

Whatever is heavier than argparse is imported inside ``run``, so that ``npresnext --help`` answers at once.
"""
