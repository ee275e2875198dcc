"""What any Django project needs of this stack: it is installed beside the server, and stays when `app/` is replaced.

`wsgi` is the application that the stack serves: the project's own, behind the trust boundary (`boundary`). `settings`
completes a project's settings. Middleware: `request_id`, `health`, `redirects`, `security_headers`. Log lines as JSON:
`json_logging`, and gunicorn's by `gunicorn_logger`. `env` reads variables, `database` makes options of an address.
`archive` is the inside half of `make backup` and `make restore`, and `management/` what it asks the project.
"""
