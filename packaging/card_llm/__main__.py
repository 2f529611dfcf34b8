"""`python -m card_llm`: becomes the program `card`."""

import os
import sys

from card_llm import find_card

if __name__ == "__main__":
    program = find_card()
    os.execv(program, [program, *sys.argv[1:]])
