"""Charts of the report, one function each; importing a module here loads altair."""
