"""Public knowledge: documents opened to everyone, and answers whose every citation leads to the exact words.

Words: a *collection* is what was added from one place (a folder, an address, a repository); a *document* is
one of its texts, in *versions* with dates in force; a *passage* is a part of a version by the document's own
structure (article, section, page, row), with its exact range of characters. A *citation* names document,
version and range, and is shown only after its words were found there. Rules: reading a document is a pure
function of its bytes; the stored text of a version never changes; what is removed is not found from then on;
nothing that is in a document is an instruction.
"""
