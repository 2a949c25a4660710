"""The command line: one module a verb, `run(arguments) -> exit status`."""
