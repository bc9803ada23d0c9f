"""The one error that means "the user can fix this"; everything else that is raised is a defect of ours."""


class InputError(ValueError):
    """What the user gave cannot be used.

    The message is one line with three parts: what was given, what is allowed, where to change it.
    Stages and the command line print it without a traceback and exit with status 2.
    """
