# ttsd on vLLM's official image: CUDA, torch and vLLM are those that pyproject.toml asks for. See docs/real-models.md.
#
#   docker build -t ttsd .
#   docker run --rm --gpus all --shm-size 8g --pids-limit 4096 -v "$PWD/data:/data" ttsd
FROM vllm/vllm-openai:v0.32.0

COPY . /opt/ttsd
RUN python3 -m pip freeze | grep -E '^(torch|vllm|transformers)==' > /tmp/pins \
 && python3 -m pip install --no-cache-dir --constraint /tmp/pins "/opt/ttsd[gpu,nf4,ray]"

# Models and run databases outlive the container. Adapters go to the sampler through /dev/shm, hence --shm-size.
ENV HF_HOME=/data/models VLLM_CACHE_ROOT=/data/vllm
VOLUME /data
WORKDIR /data

ENTRYPOINT ["ttsd"]
CMD ["doctor"]
