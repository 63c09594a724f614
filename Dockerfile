# Airflow with Perpflow: every component of docker-compose.yaml runs this image.
FROM apache/airflow:3.3.2-python3.11

COPY --chown=airflow:root requirements.txt /opt/airflow/requirements.txt
# The lock names every version, Airflow's own included, so nothing of the base image moves unseen.
RUN pip install --no-cache-dir -r /opt/airflow/requirements.txt

COPY --chown=airflow:root dags /opt/airflow/dags
COPY --chown=airflow:root plugins /opt/airflow/plugins
COPY --chown=airflow:root include /opt/airflow/include

# A named volume takes its first content, and so its owner, from the image.
RUN mkdir -p /opt/airflow/auth /opt/airflow/logs /opt/airflow/reports

ENV PYTHONPATH=/opt/airflow/plugins \
    GX_ANALYTICS_ENABLED=false
