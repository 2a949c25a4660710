"""One module a verb of the command line: `run(arguments) -> exit status`."""
