"""Intake: accepts events and turns them into chunks, by socket and by spool."""
