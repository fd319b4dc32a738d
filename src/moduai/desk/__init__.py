"""The reference desk: where a question meets public documents and a model, for every client alike.

Words: a model's name with ``+public`` behind it asks the desk instead of the model alone. Rule: pages, the
API and tests ask the desk as they ask a model; what it gives is already checked (``knowledge.answer``), is
written in Markdown in which nothing but our own links is markup, and is what a history keeps.
"""

from moduai.desk.asking import Desk, Known, Told

__all__ = ["Desk", "Known", "Told"]
