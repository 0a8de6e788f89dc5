"""Functions that a core may be allowed to run. Their module is found in this folder."""

import os
import time


def shout(text: str) -> str:
    return text.upper() + "!"


def split(text: str) -> list[str]:
    return text.split(",", 1)


def number(text: str) -> int:
    return len(text)


def slow(text: str) -> str:
    time.sleep(30)
    return text


def log(path: str) -> str:
    """Has an effect: a line in a file."""
    with open(path, "a") as file:
        file.write("ran\n")
    return "logged"


def log_and_hang(path: str) -> str:
    log(path)
    time.sleep(600)
    return "never"


def pid(text: str) -> str:
    return str(os.getpid())
