"""Names of types that signatures share. Only type checkers read this: import it below ``if TYPE_CHECKING``."""
from collections.abc import Callable
from os import PathLike
from typing import Any, TypeAlias

from numpy.typing import NDArray

__all__ = ["Array", "Entry", "Json", "Say", "StrPath"]

#: A NumPy array; docstrings give shape, type of the numbers and unit.
Array: TypeAlias = NDArray[Any]
#: What JSON can say.
Json: TypeAlias = Any
#: A configuration entry as plain data.
Entry: TypeAlias = dict[str, Any]
#: Told a sentence.
Say: TypeAlias = Callable[[str], object]
StrPath: TypeAlias = str | PathLike[str]
