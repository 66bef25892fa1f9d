"""What the services' HTTP interfaces share: one kind of error, one wire format, one way to page, one way to sign in.

problems        every error code, and `Problem`, the exception that becomes an answer
errors          the handler and the middleware that turn whatever goes wrong into a problem document
parsers         JSON, strictly            serializers    camelCase on the wire, unknown fields refused
pagination      by cursor, with ordering  filters        bounded query parameters
authentication  bearer token or session   permissions    who may
http            what RFC 9110 asks for, as middleware
converters      ids in paths              schema         what OpenAPI cannot know by itself
renderers       JSON, quickly             prepared       querysets that are made into SQL once
"""
