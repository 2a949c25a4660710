"""Reading layers, each kind of wording once: what a net states, and what of it no layer reads.

A deep net has a few dozen layers that differ, over and over under other names. Where a class says that its `read` goes
by the message alone (`by_message_alone`), the layer that was read from a message first serves all that say the same.
"""

from __future__ import annotations

from collections.abc import Hashable

from converter.node import Layer, reads_message_alone
from prototxt import NetLayer
from prototxt.caffe_pb2 import LayerParameter
from prototxt.recording import Record
from prototxt.unread import Unread, check_all_read


class Wordings:
    """The layers of one net, read one after another.

    Args:
        lenient: warn of what nobody reads where it would be refused (`--allow-unknown`).
        training: whether the net will be trained.
    """

    def __init__(self, *, lenient: bool, training: bool) -> None:
        self._lenient, self._training = lenient, training
        self._layers: dict[Hashable, tuple[Layer, Record]] = {}
        self._clean: set[Record] = set()  # of layers of which nothing is left

    def layer(self, cls: type[Layer], source: NetLayer) -> tuple[Layer, Record]:
        """The layer, and what was asked for to read it; NetError or UnsupportedError as of `Layer.read`."""
        if not reads_message_alone(cls):
            return _read(cls, source)
        said = cls, _wording(source)
        found = self._layers.get(said)
        if found is None:
            found = self._layers[said] = _read(cls, source)
        return found

    def unread(self, source: NetLayer, record: Record, *, fed: bool = False) -> list[Unread]:
        """What a layer states and was not asked for, as far as it is worth a warning only; errors as `check_all_read`.

        Args:
            source: the layer.
            record: what was asked for.
            fed: whether the caller feeds its tops.
        """
        if record in self._clean:
            return []
        found = check_all_read(source, record, lenient=self._lenient, training=self._training, fed=fed)
        if not found:
            self._clean.add(record)
        return found


def _read(cls: type[Layer], source: NetLayer) -> tuple[Layer, Record]:
    record = Record()
    return cls.read(source.read_by(record)), record


def _wording(source: NetLayer) -> Hashable:
    """What a layer says but for names: of its blobs, how many there are, and which are the same."""
    message = LayerParameter()
    message.CopyFrom(source.param)
    for name in ("name", "bottom", "top"):
        message.ClearField(name)
    first: dict[str, int] = {}
    same = tuple(first.setdefault(blob, place) for place, blob in enumerate((*source.bottoms, *source.tops)))
    return source.dialect, len(source.bottoms), same, tuple(source.stated_for_plugins()), message.SerializeToString()
