"""The command line: one small file a command, loaded only when it is asked for.

Results go to stdout, diagnostics to stderr, so output can be piped. Exit status: 0 when all is
well, 1 when the program or the run has mistakes, 2 for wrong usage or a bug of ours.
"""
