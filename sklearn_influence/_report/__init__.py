"""The inside of an audit's report: its numbers, what a table's columns tell, and the sections in print."""
