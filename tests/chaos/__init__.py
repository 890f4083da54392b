"""Chaos: the promise put to the test, by anyone, with an oracle.

``python -m tests.chaos`` (``make chaos``) runs the installed daemon under load by every
door and kills it, again and again, at random moments; it reloads and restarts it under
load, while the upstream comes and goes. Then it compares what was acknowledged with
what the strict sink received, and prints what it found. One number makes a run
repeatable, as far as the moments of a kill can be.

What a kill cannot show: the kernel survives it, so that even a store that never syncs
would pass. For that there is ``python -m tests.powercut``.
"""
