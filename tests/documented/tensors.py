"""A PyTorch tensor where PyTorch is installed, else an object that behaves as one does; and
TensorFlow's, of which the documents use one method.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy


class Tensor:
    """`torch.Tensor` as far as caches look at it: one that is being trained, on another device."""

    __module__ = "torch"

    def __init__(self, array: Any, grad: bool = True, device: str = "cuda") -> None:
        self._array, self._grad, self._device = array, grad, device
        self.dtype, self.shape = f"torch.{array.dtype}", array.shape

    def detach(self) -> Tensor:
        return Tensor(self._array, False, self._device)

    def cpu(self) -> Tensor:
        return Tensor(self._array, self._grad, "cpu")

    def numpy(self) -> Any:
        if self._grad:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad.")
        if self._device != "cpu":
            raise TypeError("can't convert cuda:0 device type tensor to numpy.")
        return self._array

    def tolist(self) -> Any:
        return self._array.tolist()

    def __iter__(self) -> Iterator[Tensor]:
        return (Tensor(row, self._grad, self._device) for row in self._array)

    def __bool__(self) -> bool:
        raise RuntimeError("Boolean value of Tensor with more than one value is ambiguous")


class EagerTensor:
    """TensorFlow's."""

    __module__ = "tensorflow.python.framework.ops"

    def __init__(self, array: Any) -> None:
        self._array = array
        self.dtype, self.shape = array.dtype.name, array.shape

    def numpy(self) -> Any:
        return self._array

    def __iter__(self) -> Iterator[EagerTensor]:
        return (EagerTensor(row) for row in self._array)


def torch_tensor(numbers: Any) -> Any:
    """32-bit floats that require a gradient."""
    try:
        import torch  # type: ignore[import-not-found]
    except ImportError:
        return Tensor(numpy.array(numbers, "f4"))
    return torch.tensor(numbers, dtype=torch.float32, requires_grad=True)


def tensorflow_tensor(numbers: Any) -> Any:
    """32-bit floats."""
    return EagerTensor(numpy.array(numbers, "f4"))
