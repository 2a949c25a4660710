"""Images fed to a net: which blob takes them, what is done to them before, what scores them, what is expected."""
