"""One file per subcommand: its arguments, what it prints, its exit codes. Exit codes: 0 done, 1 refused or failed, 2 wrong usage."""
