"""Power cuts: a whole machine under load, killed at any moment, again and again.

``python -m tests.powercut --cuts 20``. A Debian 12 with its own kernel and ext4 runs
under an emulator, and in it the relay; producers and upstream are out here. The power
goes: the emulator is killed with SIGKILL. What is then on the machine's disk is looked
at from outside, and the machine is started again upon it.

What is lost in such a cut is what the machine had in its memory: its page cache, with
every write that was not synced, and what was on its way to the disk. So
`test_kill_loop` passes without any sync, and this does not (`--synchronous off`).

What it cannot show: a disk that says "written" of what is in its own cache only. The
image is opened past the host's page cache (`cache=none`), but the host goes on living,
and what the emulator was told is written stays there.

`image` makes the disks, `machine` starts and kills, `guest` is what runs inside, `load`
sends events and notes what was acknowledged, `disk` reads what is left, `verdict`
compares.
"""
