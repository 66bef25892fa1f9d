"""What the HTTP interfaces of all services share: errors, wire format, pagination, authentication.

problems            every error code, and `Problem`, the exception behind a problem document
exception_handler   turns any exception or error response into a problem document
http                what RFC 9110 requires, as middleware
parsers             strict JSON               serializers   camelCase on the wire, unknown fields refused
pagination          by cursor, with ordering  filters       query parameters with bounds
authentication      bearer token or session   permissions   who may do what
tokens, keys        access tokens             throttles     requests per minute
sessions            session middleware that skips requests with a token
converters          ids in paths              etags         `ETag` and `If-Match`
renderers           fast JSON                 schema        additions to the OpenAPI description
prepared            querysets compiled to SQL once
"""
