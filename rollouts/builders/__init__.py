"""Where images come from: an existing tag, CodeBuild, or a Docker engine.

Called by ``building``, by ``actions.builds`` to say early what cannot be built, and by the pages to
list images. Nothing here writes a row. Only ``engine`` talks to a Docker engine, and only the
worker of the queue ``build`` imports it.
"""
