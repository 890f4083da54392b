"""``python -m leanbase_relay``: the same as the command ``leanbase-relay``."""

from leanbase_relay.cli import main

main(prog_name="leanbase-relay")
