"""Trying out what an option file describes, so that an error of a class is one line about the file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.error import URLError

from reflash_sr.errors import UserError
from reflash_sr.options.registry import is_owned


def attempt(where: str, owner: Any, build: Callable, *args: Any, **kwargs: Any) -> Any:
    """Call ``build``; errors of our, BasicSR's or torch's classes become a ``UserError`` about the options.

    Args:
        where: The section of the option file, for the message.
        owner: The class or function whose error it would be. Errors of other projects' classes are not changed.
        build: What is called, with the other arguments.
    """
    try:
        return build(*args, **kwargs)
    except UserError as error:
        raise UserError(f'{where}: {error}') from error
    except KeyError as error:
        raise UserError(f'{where}: {error.args[0]}: is missing') from error
    except URLError as error:
        raise UserError(f'{where}: {owner.__name__} cannot download what it needs ({error.reason}); copy the file that '
                        "the line 'Downloading' names to where it says, or remove this section") from error
    except Exception as error:
        if not is_owned(owner):
            raise
        raise UserError(f'{where}: {owner.__name__} does not accept these options: {error}') from error
