-- What wrk sends, and how it reports: arguments after `--` are method, size of the body in bytes, number of ids.
-- The last line of the output is one JSON object, read by measure.py.

local sent = 0

function init(arguments)
  local method = arguments[1]
  if method ~= "PUT" then
    return -- wrk's own request, made once
  end
  local size, documents = tonumber(arguments[2]), tonumber(arguments[3])
  local collection = wrk.path
  local headers = { ["Content-Type"] = "application/json", ["Host"] = wrk.headers["Host"] }
  -- Each body differs from the one before it, so that no write is one that changes nothing.
  local head, tail = '{"number":', ',"text":"'
  local padding = string.rep("x", size - #head - 9 - #tail - 2) .. '"}'
  math.randomseed(os.time())
  request = function()
    sent = sent + 1
    local body = head .. (100000000 + sent) .. tail .. padding
    return wrk.format("PUT", collection .. "/d" .. math.random(documents), headers, body)
  end
end

function done(summary, latency, requests)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.timeout + errors.status
  io.write(string.format(
    '\n{"requests":%d,"duration_us":%d,"failed":%d,"p50_us":%d,"p99_us":%d,"errors":' ..
    '{"connect":%d,"read":%d,"write":%d,"timeout":%d,"status":%d}}\n',
    summary.requests, summary.duration, failed, latency:percentile(50), latency:percentile(99),
    errors.connect, errors.read, errors.write, errors.timeout, errors.status))
end
