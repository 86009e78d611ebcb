"""When does owning the silicon that serves your language models pay, and who keeps the savings?"""

__version__ = "0.1.0"
