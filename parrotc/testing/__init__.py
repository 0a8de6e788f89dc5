"""Running the `test` blocks of programs: from files to outcomes, for a command and for pytest."""
