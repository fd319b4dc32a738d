"""What residents choose to keep: their conversations, recorded by the server and sealed.

Words: a *turn* is one question and its answer as the lane saw them; a *conversation* is a person's
turns under a title; the *recorder* takes turns from the lane and puts them, sealed with the person's
own key, into segment files; the *loader* moves those into the database.

Rule: only with history on; nothing that a page posts back becomes a turn; text is sealed before it
touches a disk; what is deleted stays deleted (a turn for a deleted conversation is dropped). The
modules are imported by name; this package imports none.
"""
