"""A person's own file, made fit for an audit: read it, choose from its columns, say what it will cost, and go."""
