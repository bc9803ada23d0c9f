"""The commands of `offramp`, a module each: `add(commands)` declares its options and says what runs.

A command is added by a module here and its name in `offramp.commands.main.COMMANDS`. Modules import what they need
when they run, so that the command line starts at once and, but for commands that run a network, without torch.
"""
