"""Forwarding: brings each project's backlog upstream, in order, batch by batch."""
