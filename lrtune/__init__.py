"""Which learning rate should a model of this size be trained with?"""

__version__ = "0.1.0"
