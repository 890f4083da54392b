"""The command line: one file a family of commands; the only place that prints."""
