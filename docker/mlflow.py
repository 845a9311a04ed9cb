"""Start MLflow's server on the search's MySQL server, in a database of its own.

The address is handed over in the environment, never on the command line, where any process could read the
password; quoted, so that the password may hold any character.
"""

import os
from urllib.parse import quote

host, port = os.environ["OPTUNA_HOST"], os.environ.get("OPTUNA_PORT", "3306")
user, password = quote(os.environ["OPTUNA_USER"], safe=""), quote(os.environ["OPTUNA_PASSWORD"], safe="")
os.environ["MLFLOW_BACKEND_STORE_URI"] = f"mysql+pymysql://{user}:{password}@{host}:{port}/mlflow"
# The server answers only to names it knows (a defence against DNS rebinding): its own in this network.
os.environ.setdefault("MLFLOW_SERVER_ALLOWED_HOSTS", "mlflow,mlflow:5000,localhost,localhost:*,127.0.0.1:*")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nothing of a hospital's goes elsewhere
listen = ["--host", "0.0.0.0", "--port", "5000"]
os.execvp("mlflow", ["mlflow", "server", *listen, "--artifacts-destination", "/mlartifacts"])
