"""The native half: what is public of it is exported by the package."""

from collections.abc import Buffer, Callable, Iterable, Mapping
