"""Finds the program `card` that this package installed."""

import os
import sys
import sysconfig

__all__ = ["find_card"]


def find_card() -> str:
    """The path of the program.

    Raises FileNotFoundError if it is not where pip puts scripts.
    """
    schemes = [sysconfig.get_default_scheme()] if sys.version_info >= (3, 10) else [None]
    schemes.append(sysconfig.get_preferred_scheme("user") if sys.version_info >= (3, 10) else "posix_user")
    for scheme in schemes:
        folder = sysconfig.get_path("scripts", scheme) if scheme else sysconfig.get_path("scripts")
        program = os.path.join(folder, "card")
        if os.path.isfile(program):
            return program
    # `pip install --target FOLDER` puts it beside this package.
    beside = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "bin", "card")
    if os.path.isfile(beside):
        return beside
    raise FileNotFoundError("the program card is not installed; try: pip install --force-reinstall card-llm")
