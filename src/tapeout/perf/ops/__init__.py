"""Time of one operator on one chip: laws, fitted constants, and the cases they are checked on."""
