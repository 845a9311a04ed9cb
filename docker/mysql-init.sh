#!/bin/bash
# Run once by the MySQL image on an empty volume: MLflow's database, beside the search's.
set -euo pipefail
mysql --user=root --password="$MYSQL_ROOT_PASSWORD" <<SQL
CREATE DATABASE IF NOT EXISTS mlflow CHARACTER SET utf8mb4;
GRANT ALL PRIVILEGES ON mlflow.* TO '$MYSQL_USER'@'%';
SQL
