#include "uploader/aggregator/usage_api.h"

#include <string>

namespace nodemeter {
namespace {

// Both names of the provider's list take the same arguments and give the same answers.
constexpr std::string_view kSubscriberUsage = R"json(    "security": [{"bearer": []}],
    "parameters": [
     {"$ref": "#/components/parameters/subscriptionId"},
     {"$ref": "#/components/parameters/api-version"},
     {"$ref": "#/components/parameters/reportedStartTime"},
     {"$ref": "#/components/parameters/reportedEndTime"},
     {"$ref": "#/components/parameters/aggregationGranularity"},
     {"$ref": "#/components/parameters/subscriberId"},
     {"$ref": "#/components/parameters/by"},
     {"$ref": "#/components/parameters/continuationToken"}
    ],
    "responses": {
     "200": {"$ref": "#/components/responses/UsagePage"},
     "400": {"$ref": "#/components/responses/SubscriberUsageFault"},
     "401": {"$ref": "#/components/responses/Unauthenticated"},
     "403": {"$ref": "#/components/responses/Forbidden"},
     "503": {"$ref": "#/components/responses/Busy"}
    }
)json";

constexpr std::string_view kDocument = R"json({
 "openapi": "3.0.3",
 "info": {
  "title": "nodemeter-aggregator",
  "version": "2015-06-01-preview",
  "description": "Usage of virtual machines in the form of Azure Stack's usage API. Paths and parameter names are matched without regard to case."
 },
 "servers": [{"url": "/"}],
 "paths": {
  "/subscriptions/{subscriptionId}/providers/Microsoft.Commerce.Admin/subscriberUsageAggregates": {
   "get": {
    "operationId": "listSubscriberUsage",
    "summary": "Usage of the caller's direct tenants",
@subscriber-usage@   }
  },
  "/subscriptions/{subscriptionId}/providers/Microsoft.Commerce/subscriberUsageAggregates": {
   "get": {
    "operationId": "listSubscriberUsageOlder",
    "summary": "The same under its older name",
@subscriber-usage@   }
  },
  "/subscriptions/{subscriptionId}/providers/Microsoft.Commerce/usageAggregates": {
   "get": {
    "operationId": "listUsage",
    "summary": "Usage of one subscription, for itself",
    "security": [{"bearer": []}],
    "parameters": [
     {"$ref": "#/components/parameters/subscriptionId"},
     {"$ref": "#/components/parameters/api-version"},
     {"$ref": "#/components/parameters/reportedStartTime"},
     {"$ref": "#/components/parameters/reportedEndTime"},
     {"$ref": "#/components/parameters/aggregationGranularity"},
     {"$ref": "#/components/parameters/by"},
     {"$ref": "#/components/parameters/continuationToken"}
    ],
    "responses": {
     "200": {"$ref": "#/components/responses/UsagePage"},
     "400": {"$ref": "#/components/responses/UsageFault"},
     "401": {"$ref": "#/components/responses/Unauthenticated"},
     "403": {"$ref": "#/components/responses/Forbidden"},
     "503": {"$ref": "#/components/responses/Busy"}
    }
   }
  },
  "/healthz": {
   "get": {
    "operationId": "health",
    "summary": "Whether batches can be stored",
    "responses": {
     "200": {"description": "They can", "content": {"text/plain": {"schema": {"type": "string"}}}},
     "503": {
      "description": "The store has failed",
      "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Sentence"}}}
     }
    }
   }
  },
  "/metrics": {
   "get": {
    "operationId": "metrics",
    "summary": "Prometheus text",
    "responses": {"200": {"description": "Metrics", "content": {"text/plain": {"schema": {"type": "string"}}}}}
   }
  },
  "/openapi.json": {
   "get": {
    "operationId": "openapi",
    "summary": "This document",
    "responses": {
     "200": {
      "description": "OpenAPI 3.0",
      "content": {"application/json": {"schema": {"type": "object", "required": ["openapi", "paths"]}}}
     }
    }
   }
  }
 },
 "components": {
  "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
  "parameters": {
   "subscriptionId": {
    "name": "subscriptionId",
    "in": "path",
    "required": true,
    "description": "The caller's own subscription. In the provider API it is the provider's.",
    "schema": {"type": "string", "format": "uuid"}
   },
   "api-version": {
    "name": "api-version",
    "in": "query",
    "required": true,
    "description": "NoApiVersion without it.",
    "schema": {"type": "string", "enum": ["2015-06-01-preview", "1.0"]}
   },
   "reportedStartTime": {
    "name": "reportedStartTime",
    "in": "query",
    "required": true,
    "description": "Inclusive, UTC, on the hour; with daily aggregation on midnight. The zone may be Z, +00:00, +00:00Z or absent.",
    "schema": {"type": "string", "format": "date-time"}
   },
   "reportedEndTime": {
    "name": "reportedEndTime",
    "in": "query",
    "required": true,
    "description": "Exclusive, as reportedStartTime, and not in the future.",
    "schema": {"type": "string", "format": "date-time"}
   },
   "aggregationGranularity": {
    "name": "aggregationGranularity",
    "in": "query",
    "required": false,
    "description": "In any case.",
    "schema": {"type": "string", "enum": ["daily", "hourly"], "default": "daily"}
   },
   "subscriberId": {
    "name": "subscriberId",
    "in": "query",
    "required": false,
    "description": "A direct tenant of the caller; absent: all of them.",
    "schema": {"type": "string", "format": "uuid"}
   },
   "by": {
    "name": "by",
    "in": "query",
    "required": false,
    "description": "Whether the two times select by the time of report, as in Azure, or by the time of use.",
    "schema": {"type": "string", "enum": ["reported", "usage"], "default": "reported"}
   },
   "continuationToken": {
    "name": "continuationToken",
    "in": "query",
    "required": false,
    "description": "From the link to the next page; everything else stays as it was on the first page.",
    "schema": {"type": "string", "pattern": "^([0-9a-f]{2})+$"}
   }
  },
  "responses": {
   "UsagePage": {
    "description": "A page of at most 1000 rows",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/UsagePage"}}}
   },
   "SubscriberUsageFault": {
    "description": "The request is at fault: NoApiVersion, InvalidProperty, RequestEndTimeIsInFuture, SubscriptionIdMissingInRequest, InvalidAggregationGranularity, SubscriberIdIsNotDirectTenant",
    "content": {
     "application/json": {
      "schema": {
       "allOf": [
        {"$ref": "#/components/schemas/Error"},
        {
         "properties": {
          "error": {
           "properties": {
            "code": {
             "enum": [
              "NoApiVersion",
              "InvalidProperty",
              "RequestEndTimeIsInFuture",
              "SubscriptionIdMissingInRequest",
              "InvalidAggregationGranularity",
              "SubscriberIdIsNotDirectTenant"
             ]
            }
           }
          }
         }
        }
       ]
      }
     }
    }
   },
   "UsageFault": {
    "description": "The request is at fault: NoApiVersion, InvalidProperty, RequestEndTimeIsInFuture, SubscriptionIdMissingInRequest, InvalidAggregationGranularity",
    "content": {
     "application/json": {
      "schema": {
       "allOf": [
        {"$ref": "#/components/schemas/Error"},
        {
         "properties": {
          "error": {
           "properties": {
            "code": {
             "enum": [
              "NoApiVersion",
              "InvalidProperty",
              "RequestEndTimeIsInFuture",
              "SubscriptionIdMissingInRequest",
              "InvalidAggregationGranularity"
             ]
            }
           }
          }
         }
        }
       ]
      }
     }
    }
   },
   "Unauthenticated": {
    "description": "No token, or an unknown one: AuthenticationFailed",
    "content": {
     "application/json": {
      "schema": {
       "allOf": [
        {"$ref": "#/components/schemas/Error"},
        {"properties": {"error": {"properties": {"code": {"enum": ["AuthenticationFailed"]}}}}}
       ]
      }
     }
    }
   },
   "Forbidden": {
    "description": "The token gives no access to this: AuthorizationFailed",
    "content": {
     "application/json": {
      "schema": {
       "allOf": [
        {"$ref": "#/components/schemas/Error"},
        {"properties": {"error": {"properties": {"code": {"enum": ["AuthorizationFailed"]}}}}}
       ]
      }
     }
    }
   },
   "Busy": {
    "description": "Busy; try again later: ServiceUnavailable",
    "content": {
     "application/json": {
      "schema": {
       "allOf": [
        {"$ref": "#/components/schemas/Error"},
        {"properties": {"error": {"properties": {"code": {"enum": ["ServiceUnavailable"]}}}}}
       ]
      }
     }
    }
   }
  },
  "schemas": {
   "UsagePage": {
    "type": "object",
    "required": ["value", "completeness"],
    "additionalProperties": false,
    "properties": {
     "value": {"type": "array", "maxItems": 1000, "items": {"$ref": "#/components/schemas/UsageAggregate"}},
     "nextLink": {"type": "string", "description": "Where the next page is; absent on the last one."},
     "completeness": {"$ref": "#/components/schemas/Completeness"}
    }
   },
   "Completeness": {
    "type": "object",
    "required": ["complete", "message", "missing"],
    "additionalProperties": false,
    "properties": {
     "complete": {
      "type": "boolean",
      "description": "The manifests of all configured nodes for the hours of the range are here, and the provider API's range ends before the current day."
     },
     "message": {"type": "string", "description": "Empty, or what begins with: processing not complete"},
     "missing": {
      "type": "array",
      "items": {
       "type": "object",
       "required": ["node", "from", "to"],
       "additionalProperties": false,
       "properties": {
        "node": {"type": "string"},
        "from": {"type": "string", "format": "date-time"},
        "to": {"type": "string", "format": "date-time"}
       }
      }
     }
    }
   },
   "UsageAggregate": {
    "type": "object",
    "required": ["id", "name", "type", "properties"],
    "additionalProperties": false,
    "properties": {
     "id": {"type": "string"},
     "name": {"type": "string"},
     "type": {
      "type": "string",
      "enum": ["Microsoft.Commerce/UsageAggregate", "Microsoft.Commerce.Admin/UsageAggregate"]
     },
     "properties": {
      "type": "object",
      "required": ["subscriptionId", "usageStartTime", "usageEndTime", "instanceData", "quantity", "meterId"],
      "additionalProperties": false,
      "properties": {
       "subscriptionId": {"type": "string", "format": "uuid"},
       "usageStartTime": {"type": "string", "format": "date-time"},
       "usageEndTime": {"type": "string", "format": "date-time"},
       "instanceData": {
        "type": "string",
        "description": "A JSON document: Microsoft.Resources with resourceUri, location, tags, additionalInfo."
       },
       "quantity": {
        "type": "number",
        "minimum": 0,
        "description": "In the meter's unit, rounded half-even to 10 decimals after summing."
       },
       "meterId": {"type": "string", "format": "uuid"},
       "meterName": {"type": "string"},
       "unit": {"type": "string"},
       "quantityBase": {
        "description": "Exact, in the base unit; text above 2^53.",
        "oneOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^[0-9]+$"}]
       },
       "baseUnit": {"type": "string"},
       "tenantId": {"type": "string", "format": "uuid"},
       "vm": {"type": "string", "format": "uuid"},
       "vmName": {"type": "string"},
       "billable": {"type": "boolean"},
       "status": {"type": "string", "description": "Marks of the records in it, with commas between."}
      }
     }
    }
   },
   "Error": {
    "type": "object",
    "required": ["error"],
    "additionalProperties": false,
    "properties": {
     "error": {
      "type": "object",
      "required": ["code", "message"],
      "additionalProperties": false,
      "properties": {"code": {"type": "string"}, "message": {"type": "string", "minLength": 1}}
     }
    }
   },
   "Sentence": {
    "type": "object",
    "required": ["error"],
    "additionalProperties": false,
    "properties": {"error": {"type": "string"}}
   }
  }
 }
})json";

}  // namespace

std::string_view openapi_json() {
  static const std::string document = [] {
    constexpr std::string_view kPlace = "@subscriber-usage@";
    std::string text(kDocument);
    for (std::size_t at = text.find(kPlace); at != std::string::npos; at = text.find(kPlace, at)) {
      text.replace(at, kPlace.size(), kSubscriberUsage);
    }
    return text;
  }();
  return document;
}

}  // namespace nodemeter
