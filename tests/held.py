"""What an object still holds: for tests of what an edit must let go."""

import numpy as np


def arrays_of(thing, seen=None):
    """Every array that an object holds, however deep."""
    seen = set() if seen is None else seen
    if id(thing) in seen or isinstance(thing, (str, bytes, int, float, type)):
        return
    seen.add(id(thing))
    if isinstance(thing, np.ndarray):
        yield thing
        if thing.base is not None:
            yield from arrays_of(thing.base, seen)
        return
    if isinstance(thing, dict):
        inner = [*thing.keys(), *thing.values()]
    elif isinstance(thing, (list, tuple, set, frozenset)):
        inner = list(thing)
    else:
        inner = [*getattr(thing, "__dict__", {}).values()]
        for cls in type(thing).__mro__:
            inner += [getattr(thing, slot, None) for slot in getattr(cls, "__slots__", ())]
    for one in inner:
        yield from arrays_of(one, seen)
