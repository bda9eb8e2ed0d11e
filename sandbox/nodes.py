"""Makes LeetCode's nodes, linked lists and binary trees, of lists, and lists of them.

A tree's list has its values level by level, null for a child that is missing. The classes are the program's own where
it defines some. Runs in the zygote: standard library only.
"""

from __future__ import annotations

from collections import deque
from typing import Any

IN_PLACE = "argument"


class ListNode:
    """Holds one element of a linked list."""

    def __init__(self, val: Any = 0, next: Any = None) -> None:
        self.val = val
        self.next = next


class TreeNode:
    """Holds one node of a binary tree."""

    def __init__(self, val: Any = 0, left: Any = None, right: Any = None) -> None:
        self.val = val
        self.left = left
        self.right = right


CLASSES = {"ListNode": ListNode, "TreeNode": TreeNode}


def built(value: Any, shape: str, scope: dict[str, Any]) -> Any:
    """Returns an argument of the shape (see interface.Program) that a plain value stands for."""
    if shape.startswith("["):
        return [built(item, shape[1:], scope) for item in value]
    if not shape or not isinstance(value, list):
        return value
    return (_chain if shape == "ListNode" else _tree)(value, scope[shape])


def _chain(values: list[Any], node: Any) -> Any:
    first = None
    for value in reversed(values):
        before = node(value)
        before.next, first = first, before
    return first


def _tree(values: list[Any], node: Any) -> Any:
    rest = deque(values)
    root = node(rest.popleft()) if rest else None
    level = deque([root] if root is not None else [])
    while rest and level:
        parent = level.popleft()
        for side in ("left", "right"):
            value = rest.popleft() if rest else None
            child = node(value) if value is not None else None
            setattr(parent, side, child)
            if child is not None:
                level.append(child)
    return root


def is_node(value: Any) -> bool:
    """Tells whether `value` looks like one of LeetCode's nodes."""
    return hasattr(value, "val") and (hasattr(value, "next") or (hasattr(value, "left") and hasattr(value, "right")))


def listed(value: Any, shape: str) -> Any:
    """Returns a result with lists in place of nodes; None is an empty list where the shape wants a node."""
    if shape.startswith("[") and isinstance(value, list | tuple):
        return [listed(item, shape[1:]) for item in value]
    if not shape or shape.startswith("["):
        return value
    if value is None:
        return []
    if not is_node(value):
        return value
    return _values_of_chain(value) if hasattr(value, "next") else _values_of_tree(value)


def _values_of_chain(node: Any) -> list[Any]:
    values = []
    while node is not None:
        values.append(node.val)
        node = node.next
    return values


def _values_of_tree(root: Any) -> list[Any]:
    values, level = [], deque([root])
    while level:
        node = level.popleft()
        values.append(None if node is None else node.val)
        if node is not None:
            level += (node.left, node.right)
    while values and values[-1] is None:
        values.pop()
    return values
