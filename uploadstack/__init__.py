"""What the stack provides for any Django project. It is installed beside the server and stays when `app/` is replaced.

`wsgi` is the application that the stack serves: the project's own, behind the trust boundary (`boundary`). `settings`
completes a project's settings. Middleware: `request_id`, `health`, `redirects`, `security_headers`. `json_logging`
writes log lines as JSON, `gunicorn_logger` those of gunicorn. `env` reads variables, `database` turns an address into
Django's settings. `archive` is the part of `make backup` and `make restore` that runs in a container; `management/` has
the command by which they query the project.
"""
