"""The benchmarks: one file a question, each figure beside the bare limit.

`python -m benchmarks run` starts the installed daemon, asks every question in turn, a
few rounds of it, and prints medians. Absolute figures are the machine's; what can be
compared between machines is a figure's ratio to the limit, or to a peer, of the same
round.
"""
