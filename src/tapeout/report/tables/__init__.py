"""Tables of the report, for page and terminal alike; nothing here loads a chart library."""
