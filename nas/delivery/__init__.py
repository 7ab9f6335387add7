"""What a run delivers: its network as it was searched and as it was trained, ready for use without this project."""

from nas.delivery.card import in_sentences
from nas.delivery.description import in_words
from nas.delivery.files import IN_WORDS, deliver, keep, kept, program_file
from nas.delivery.finished import Finished
from nas.delivery.networks import searched_net, trained_net, write_networks
from nas.delivery.options import Delivery

__all__ = [
    "IN_WORDS",
    "Delivery",
    "Finished",
    "deliver",
    "in_sentences",
    "in_words",
    "keep",
    "kept",
    "program_file",
    "searched_net",
    "trained_net",
    "write_networks",
]
