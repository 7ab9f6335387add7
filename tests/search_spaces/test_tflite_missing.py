"""What is said where TensorFlow Lite's package is not installed."""

import sys

import pytest

from search_spaces import tflite_net, zoo


def test_the_extra_is_named(monkeypatch):
    for module in ("ai_edge_litert", "ai_edge_litert.interpreter"):
        monkeypatch.setitem(sys.modules, module, None)
    said = r"^format tflite needs the package ai-edge-litert \(.+\); pip install 'platform-aware-nas\[litert\]'$"
    for make in (lambda: tflite_net.model(zoo.get("mobilenet_v3_small")), lambda: tflite_net.interpreter(b"")):
        with pytest.raises(ValueError, match=said):
            make()
